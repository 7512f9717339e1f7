//go:build !unix

package apt

// volume knows nothing where apt does not run.
func (m *Manager) volume(dir string) (volume, error) { return volume{path: dir, free: 1 << 62}, nil }
