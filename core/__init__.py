"""What knows nothing of faces: options, prompts, storage, images, video, colour, networks."""
