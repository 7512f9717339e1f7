//go:build !unix

package apt

func inChroot() bool { return false }
