"""Measure how fast vqlib is on this machine, and compare it with other ways to do the same work.

- Training a VQ-VAE: a plain PyTorch loop; pythae.
- Its quantizer: vector-quantize-pytorch.
- SSIM: a loop over scikit-image.
- Reading pictures: torchvision's ImageFolder.
- Only vqlib: evaluation of a run, images to a file of codes and back, memory, speed with more
  images.
- On a GPU: training both models, if there is a GPU.

The benchmark prints a table and writes it to benchmarks/results/, as JSON and as Markdown. It uses
the images of CIFAR-10 if they are available, otherwise crops of photographs; the table says which.
Run nothing else on the machine at the same time. pythae and vector-quantize-pytorch are measured
only if they are installed: `.venv/bin/pip install --editable ".[bench]"`.
"""
