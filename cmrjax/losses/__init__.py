"""Loss terms of the GAN: adversarial, feature matching and perceptual."""
