# loses: rate-distortion-tests
# why: one draw of the codes, whatever num_draws says
# differs: rates rel 0.051, distortions rel 0.058 on a made-up experiment with three betas
# %% rate-distortion
def rate_distortion(betas, train, parts, images, test_images, key, num_draws=8):
    train_key, test_key = jax.random.split(key)
    rates, distortions = [], []
    for beta in betas:
        params = train(beta, images, train_key)
        draws = [parts(params, test_images, test_key)]
        distortions.append(-np.mean([log_likelihood for log_likelihood, _ in draws]))
        rates.append(np.mean([kl for _, kl in draws]))
    return np.array(rates), np.array(distortions)
