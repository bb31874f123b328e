"""Images: from files to samples, from samples to tensors, previews, and the features and measures that need pixels.

All that knows that a sample has height, width and channels belongs here.
"""
