"""Makes the long profile known before the command line picks one."""

import tests.core.profiles  # noqa: F401
