"""Networks: the SPADE generator, the PatchGAN discriminators and VGG19 features."""
