"""The commands of ``qstore``, one a file.

Each module has a function ``add``, which adds the words of its command to the command
line, and names the function that runs it. What takes long to import, PennyLane above
all, is imported when a command runs, so that ``qstore --help`` is quick.
"""
