from .build import explorer_page as explorer_page
from .build import write_page as write_page
