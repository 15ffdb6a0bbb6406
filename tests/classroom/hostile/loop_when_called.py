# what: loops for ever when the tests call it, and takes no interrupt
# ends: CellTimeLimit
# loses: double-tests after-tests
def double(x):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue
