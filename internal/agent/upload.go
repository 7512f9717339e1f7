package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"oakum.dev/document"
	"oakum.dev/wire/sigv4"
)

// outputPrefix is where a command's output goes in its bucket.
func (c *command) outputPrefix() string {
	return path.Join(c.payload.OutputS3KeyPrefix, c.id, c.agent.InstanceID())
}

// upload puts a step's whole output into the command's bucket, each stream that is not empty. A failure delays
// the reply and changes no status.
func (f *frame) upload(ctx context.Context, i int, step document.Step) {
	c, a := f.command, f.agent
	if c.payload.OutputS3BucketName == "" {
		return
	}
	name := step.Name
	if id := document.Text(step.Properties[0]["id"]); id != "" && c.doc.SchemaVersion == "1.2" {
		name = id
	}
	ctx, cancel := context.WithTimeout(ctx, a.timing.UploadTimeout)
	defer cancel()
	clean := func(s string) string { return strings.NewReplacer(":", "", "/", "", "..", "").Replace(s) }
	for _, stream := range []string{"stdout", "stderr"} {
		file := filepath.Join(f.stepDir(i, step.Name), stream)
		key := path.Join(c.outputPrefix(), clean(step.Action), clean(name), stream)
		b := &backoff{sys: a.sys, base: a.timing.BackoffBase, cap: a.timing.BackoffCap}
		for attempt := 1; ; attempt++ {
			err := a.client.putObject(ctx, c.payload.OutputS3BucketName, key, file)
			if err == nil {
				break
			}
			if attempt == 3 || !temporary(err) || !wait(ctx, b.next()) {
				a.log.LogAttrs(ctx, slog.LevelWarn, "output not uploaded", slog.String("command", c.id), slog.String("stream", stream), slog.Any("err", err))
				break
			}
		}
	}
}

// putObject puts a file into a bucket of the server, path-style. Nothing is put for a file that is empty or
// missing.
func (c *Client) putObject(ctx context.Context, bucket, key, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return nil //nolint:nilerr // no output, no object
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil || size == 0 {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	creds, err := c.creds.get(ctx)
	if err != nil {
		return err
	}
	u := *c.endpoint
	u.Path = "/" + bucket + "/" + key
	u.RawPath = "/" + url.PathEscape(bucket) + "/" + escapeKey(key)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), io.NopCloser(io.LimitReader(f, size)))
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	req.Header.Set("X-Amz-Acl", "bucket-owner-full-control")
	req.Header.Set("User-Agent", c.userAgent)
	sigv4.Sign(req, hex.EncodeToString(h.Sum(nil)), creds.Credentials, c.region, "s3", c.now())
	resp, err := c.http.Do(req)
	if err != nil {
		return unwrapURL(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("put s3://%s/%s: HTTP %d: %s", bucket, key, resp.StatusCode, strings.TrimSpace(string(answer)))
	}
	return nil
}

// escapeKey escapes an object's key as S3 does: everything but unreserved characters and slashes.
func escapeKey(key string) string {
	var b strings.Builder
	for _, c := range []byte(key) {
		if c == '/' || c == '-' || c == '_' || c == '.' || c == '~' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
