"""The development loop: `onetape debug`, `onetape why`, `onetape dev`."""
