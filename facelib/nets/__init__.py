"""DFL's pretrained networks as TensorFlow graphs; importing a module here imports TensorFlow."""
