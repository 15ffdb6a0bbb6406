"""What the command `classroom.py` is made of."""
