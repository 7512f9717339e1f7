//go:build !unix

package system

// VolumeOf knows nothing where package managers do not ask.
func VolumeOf(_, dir string) (Volume, error) { return Volume{Path: dir, Free: 1 << 62}, nil }
