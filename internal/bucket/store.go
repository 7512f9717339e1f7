// Package bucket keeps buckets as folders: BUCKET/KEY of an account is the file ACCOUNT/BUCKET/KEY below
// one directory, so that an operator can look at them with the tools at hand. Store is for the server's
// own use; Handler serves the little of S3 that agents and `aws s3` need. Writing is atomic: a reader
// sees the old object or the new one. Start with Store.
package bucket

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"oakum.dev/arn"
)

// The ways in which an object or a bucket cannot be had.
var (
	ErrNoBucket = errors.New("no such bucket")
	ErrNoKey    = errors.New("no such key")
	ErrBadName  = errors.New("bucket name or key that cannot be a folder or file")
	ErrConflict = errors.New("key is the folder of other keys, or below another key")
)

// Object says what is stored under a key.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
	ETag     string // changes with the object; quoted, not an MD5
}

// Store is a directory of buckets. It is safe for concurrent use.
type Store struct {
	root *os.Root
}

// partDir is where objects are written before they have their name; it is no account.
const partDir = ".parts"

// Open opens the store in a directory, which it makes if need be, and clears what a crash left half written.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make bucket directory: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open bucket directory: %w", err)
	}
	if err = root.RemoveAll(partDir); err == nil {
		err = root.Mkdir(partDir, 0o700)
	}
	if err != nil {
		_ = root.Close() // the first error counts
		return nil, fmt.Errorf("prepare %s: %w", partDir, err)
	}
	return &Store{root: root}, nil
}

// Close releases the directory.
func (s *Store) Close() error { return s.root.Close() }

var bucketName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$`) })

// Valid reports whether name can be a bucket: 3 to 63 lower-case letters, digits, dots, hyphens and underscores.
func Valid(name string) bool { return bucketName().MatchString(name) && !strings.Contains(name, "..") }

// ValidKey reports whether key can be a file: 1 to 1024 bytes of UTF-8 in segments that are neither empty
// nor made of dots only, each of at most 255 bytes, without control characters and backslashes, and on Windows without colons.
func ValidKey(key string) bool {
	if key == "" || len(key) > 1024 || !utf8.ValidString(key) || strings.Contains(key, "\\") || runtime.GOOS == "windows" && strings.Contains(key, ":") {
		return false
	}
	for _, r := range key {
		if r < ' ' || r == 0x7f {
			return false
		}
	}
	for seg := range strings.SplitSeq(key, "/") {
		if seg == "" || seg == "." || seg == ".." || len(seg) > 255 {
			return false
		}
	}
	return true
}

func place(account, bucket string) (string, error) {
	if !arn.IsAccount(account) || !Valid(bucket) {
		return "", ErrBadName
	}
	return account + "/" + bucket, nil
}

func file(account, bucket, key string) (string, error) {
	dir, err := place(account, bucket)
	if err != nil || !ValidKey(key) {
		return "", ErrBadName
	}
	return dir + "/" + key, nil
}

// Create makes a bucket; one that exists is fine.
func (s *Store) Create(account, bucket string) error {
	dir, err := place(account, bucket)
	if err != nil {
		return err
	}
	return s.root.MkdirAll(dir, 0o700)
}

// Exists reports whether there is such a bucket.
func (s *Store) Exists(account, bucket string) bool {
	dir, err := place(account, bucket)
	if err != nil {
		return false
	}
	st, err := s.root.Stat(dir)
	return err == nil && st.IsDir()
}

// Put stores what r gives until its end, and makes the bucket if need be. Nothing is stored when reading
// fails or ctx is done; before Put returns the object is on disk.
func (s *Store) Put(ctx context.Context, account, bucket, key string, r io.Reader) (Object, error) {
	name, err := file(account, bucket, key)
	if err != nil {
		return Object{}, err
	}
	part := partDir + "/" + randomName()
	defer func() { _ = s.root.Remove(part) }() // gone already after a rename
	if err := s.write(ctx, part, r); err != nil {
		return Object{}, fmt.Errorf("write %s: %w", name, err)
	}
	return s.publish(part, name, key)
}

func randomName() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// write makes a new file of what r gives, and syncs it.
func (s *Store) write(ctx context.Context, name string, r io.Reader) error {
	f, err := s.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, &ctxReader{ctx, r}); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// publish gives a written file its name, for good.
func (s *Store) publish(part, name, key string) (Object, error) {
	if err := s.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return Object{}, conflict(err)
	}
	if err := s.root.Rename(part, name); err != nil {
		return Object{}, conflict(err)
	}
	if err := s.syncDir(path.Dir(name)); err != nil {
		return Object{}, err
	}
	st, err := s.root.Stat(name)
	if err != nil {
		return Object{}, fmt.Errorf("stat %s: %w", name, err)
	}
	return object(key, st), nil
}

func conflict(err error) error {
	if errors.Is(err, fs.ErrExist) || isNotDir(err) {
		return ErrConflict
	}
	return err
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func object(key string, st fs.FileInfo) Object {
	return Object{
		Key: key, Size: st.Size(), Modified: st.ModTime().UTC(),
		ETag: fmt.Sprintf(`"%016x%016x-1"`, st.ModTime().UnixNano(), st.Size()),
	}
}

// Get opens an object; the caller closes it.
func (s *Store) Get(account, bucket, key string) (*os.File, Object, error) {
	name, err := file(account, bucket, key)
	if err != nil {
		return nil, Object{}, err
	}
	f, err := s.root.Open(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || isNotDir(err) {
			if !s.Exists(account, bucket) {
				return nil, Object{}, ErrNoBucket
			}
			return nil, Object{}, ErrNoKey
		}
		return nil, Object{}, fmt.Errorf("open %s: %w", name, err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = ErrNoKey
	}
	if err != nil {
		_ = f.Close() // read only
		return nil, Object{}, err
	}
	return f, object(key, st), nil
}

// Delete removes an object; one that is not there is fine. Folders that become empty go as well.
func (s *Store) Delete(account, bucket, key string) error {
	name, err := file(account, bucket, key)
	if err != nil {
		return err
	}
	if st, serr := s.root.Stat(name); serr != nil || !st.Mode().IsRegular() {
		return nil
	}
	if err := s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	for dir := path.Dir(name); strings.Count(dir, "/") > 1; dir = path.Dir(dir) {
		if s.root.Remove(dir) != nil { // not empty
			break
		}
	}
	return nil
}

// List returns up to limit objects whose keys begin with prefix and come after a key, in the order of
// their keys' bytes, and whether there are more.
func (s *Store) List(account, bucket, prefix, after string, limit int) ([]Object, bool, error) {
	dir, err := place(account, bucket)
	if err != nil {
		return nil, false, err
	}
	if !s.Exists(account, bucket) {
		return nil, false, ErrNoBucket
	}
	top := dir
	if i := strings.LastIndexByte(prefix, '/'); i > 0 {
		if !ValidKey(prefix[:i]) {
			return nil, false, nil
		}
		top = dir + "/" + prefix[:i]
	}
	var out []Object
	err = fs.WalkDir(s.root.FS(), top, func(name string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) || isNotDir(err):
			return nil // removed meanwhile, or no such prefix
		case err != nil:
			return err
		case !d.Type().IsRegular():
			return nil
		}
		key := strings.TrimPrefix(name, dir+"/")
		if !strings.HasPrefix(key, prefix) || key <= after {
			return nil
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		out = append(out, object(key, st))
		return nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("list %s: %w", dir, err)
	}
	slices.SortFunc(out, func(a, b Object) int { return cmp.Compare(a.Key, b.Key) })
	if len(out) > limit {
		return out[:limit], true, nil
	}
	return out, false, nil
}

// Buckets returns the names of an account's buckets.
func (s *Store) Buckets(account string) ([]string, error) {
	if !arn.IsAccount(account) {
		return nil, ErrBadName
	}
	entries, err := fs.ReadDir(s.root.FS(), account)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list buckets: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && Valid(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
