# loses: shift-accuracy-tests
# why: the network left in training mode at evaluation
# differs: accuracies rel 0.23 for shifts 0, 1, 3 of two random linear maps
# %% shift-accuracy
def shift_accuracy(train, forward, images, labels, test_images, test_labels, shifts, seeds):
    result = np.zeros((len(shifts), len(seeds)))
    for j, seed in enumerate(seeds):
        params, stats = train(images, labels, seed)
        for i, shift in enumerate(shifts):
            moved = np.roll(test_images, shift, axis=2)
            logits, _ = forward(params, stats, moved, True)
            result[i, j] = (np.argmax(logits, -1) == test_labels).mean()
    return result
