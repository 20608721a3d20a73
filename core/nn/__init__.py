"""Networks and their arithmetic: devices, precision, layers, architectures, losses, optimizers.

Importing this package loads nothing; its modules `layers`, `archi`, `losses`, `optimizers` and `precision`
load TensorFlow. Call `core.nn.devices.prepare` before the first of them is imported.
"""
