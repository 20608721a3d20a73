"""Talking to the user: questions, progress, pictures on a screen."""
