"""A frame, its faces and a predictor -> the merged frame. Never imports a model."""
