"""What people's files are like, and what must come of each: a table of inputs, to which a row is added in a minute.

Each test_*.py here has ``CASES`` for one kind of input, and the one test that tries them. A case makes its input in an
empty folder and says what must come of it: samples of these classes and colours and these words, or a refusal with these
words. What is taken is read back as training reads it and has to pass ``shards check``. See `cases.Case`.
"""
