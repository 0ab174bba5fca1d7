"""U-Net, DenseNet and ResNet, made ready for gradients per patient.

The bodies are MONAI's, which takes seconds to import: import the modules of this
package only where a network is made.
"""
