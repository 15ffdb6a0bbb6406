# loses: rate-distortion-tests
# why: not written
# differs: not written
# %% rate-distortion
def rate_distortion(betas, train, parts, images, test_images, key, num_draws=8):
    raise NotImplementedError()
