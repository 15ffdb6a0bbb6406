# loses: rate-distortion-tests
# why: the rate multiplied by beta, as it stands in the loss
# differs: rates rel 0.64, distortions rel 0 on a made-up experiment with three betas
# %% rate-distortion
def rate_distortion(betas, train, parts, images, test_images, key, num_draws=8):
    train_key, test_key = jax.random.split(key)
    rates, distortions = [], []
    for beta in betas:
        params = train(beta, images, train_key)
        draws = [parts(params, test_images, k) for k in jax.random.split(test_key, num_draws)]
        distortions.append(-np.mean([log_likelihood for log_likelihood, _ in draws]))
        rates.append(beta * np.mean([kl for _, kl in draws]))
    return np.array(rates), np.array(distortions)
