// Linked into every program of an AddressSanitizer build. Open MPI unloads its plugins in
// MPI_Finalize; what they leaked is then reported from an unknown module, which no suppression can
// name. With this dlclose they stay loaded, and lsan.supp can tell their leaks from weft's.
extern "C" int dlclose(void*) { return 0; }
