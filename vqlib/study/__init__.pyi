from .presets import Study as Study
from .presets import load_study as load_study
from .run import run_study as run_study
from .summary import SUMMARY_COLUMNS as SUMMARY_COLUMNS
from .summary import load_runs as load_runs
from .summary import load_summary as load_summary
from .summary import summarise as summarise
from .summary import write_summary as write_summary
