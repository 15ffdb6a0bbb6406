# loses: shift-accuracy-tests
# why: the test pictures moved in place, so that shifts add up and the data are changed
# differs: accuracies rel 0.23 for shifts 0, 1, 3 of two random linear maps
# %% shift-accuracy
def shift_accuracy(train, forward, images, labels, test_images, test_labels, shifts, seeds):
    result = np.zeros((len(shifts), len(seeds)))
    for j, seed in enumerate(seeds):
        params, stats = train(images, labels, seed)
        for i, shift in enumerate(shifts):
            test_images[:] = np.roll(test_images, shift, axis=2)
            logits, _ = forward(params, stats, test_images, False)
            result[i, j] = (np.argmax(logits, -1) == test_labels).mean()
    return result
