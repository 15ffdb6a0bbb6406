# what: loops for ever in its own cell
# ends: CellTimeLimit
# loses: double-tests after-tests
while True:
    pass
