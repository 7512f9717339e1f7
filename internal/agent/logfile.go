package agent

import (
	"errors"
	"io/fs"
	"os"
	"sync"
)

// ServiceName names the agent to the service manager of Windows.
const ServiceName = "oakum-agent"

// maxLog is how long a log grows before it becomes the old one, in bytes. One old log is kept.
const maxLog = 5 << 20

// logFile is the log of an agent whose standard error nobody keeps: a Windows service's.
type logFile struct {
	mu   sync.Mutex
	path string
	f    *os.File
	size int64
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.f, l.size = f, info.Size()
	return nil
}

// Write implements io.Writer. A log that cannot be begun anew goes on growing.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(p)) > maxLog {
		if err := l.turn(); err != nil && l.f == nil {
			return 0, err
		}
	}
	n, err := l.f.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *logFile) turn() error {
	err := l.f.Close()
	l.f = nil
	if rerr := os.Rename(l.path, l.path+".old"); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		err = errors.Join(err, rerr)
	}
	return errors.Join(l.open(), err)
}

// Close implements io.Closer.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}
