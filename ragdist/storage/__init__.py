"""Files: written whole or not at all, by path or URL, and a cache of remote ones.

Nothing here knows what the files hold.
"""
