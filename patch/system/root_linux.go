package system

import (
	"io/fs"
	"os"
)

// sameRoot reports whether a process sees the root that we see; the files of containers are not ours.
func sameRoot(root fs.FS, dir string, self fs.FileInfo) bool {
	theirs, err := fs.Stat(root, dir+"/root")
	return err != nil || self == nil || os.SameFile(theirs, self)
}
