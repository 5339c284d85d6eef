# Read by ctest before it runs the tests of a build tree; every test inherits what is set here.

# Open MPI refuses to run as root, and more ranks than cores, unless told otherwise.
set(ENV{OMPI_ALLOW_RUN_AS_ROOT} 1)
set(ENV{OMPI_ALLOW_RUN_AS_ROOT_CONFIRM} 1)
set(ENV{OMPI_MCA_rmaps_base_oversubscribe} 1)

# One thread per rank unless a test asks for more.
if(NOT DEFINED ENV{OMP_NUM_THREADS})
  set(ENV{OMP_NUM_THREADS} 1)
endif()
