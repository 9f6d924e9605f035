"""The embedded base: a small latent diffusion model of portraits that this project trained itself."""
