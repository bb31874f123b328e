"""Arrays of numbers: trajectories [C, T], tables and vectors [D].

Stored as they are, float32; networks see each channel shifted and scaled, as the index's ``spec`` says.
"""
