"""The cellar: files, processes, progress and machine. Whoever studies models never goes there."""
