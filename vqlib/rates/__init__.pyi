from .measures import distortion as distortion
