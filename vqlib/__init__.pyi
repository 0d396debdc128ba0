from .config import TrainConfig as TrainConfig
from .errors import UserError as UserError
from .evaluation import evaluate as evaluate
from .images import Images as Images
from .images import load_images as load_images
from .models import VAE as VAE
from .models import VQVAE as VQVAE
from .quantizer import VectorQuantizer as VectorQuantizer
from .runs import Run as Run
from .runs import find_runs as find_runs
from .runs import load_run as load_run
from .similarity import ssim as ssim
from .training import fit as fit

__version__: str
