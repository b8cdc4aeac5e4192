namespace delineate {
// Keeps the static library non-empty on every toolchain until the first algorithm lands.
int core_version() { return 1; }
}  // namespace delineate
