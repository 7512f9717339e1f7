package cli

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"oakum.dev/iam"
	"oakum.dev/internal/account"
	"oakum.dev/internal/server"
	"oakum.dev/internal/store"
)

// place is where an installation's data is.
type place struct{ dataDir, databaseURL string }

func (p *place) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.dataDir, "data-dir", os.Getenv("OAKUM_DATA_DIR"), "the server's data `DIR`")
	cmd.Flags().StringVar(&p.databaseURL, "database-url", os.Getenv("OAKUM_DATABASE_URL"), "postgres://... if the server uses it")
}

func (p *place) config() (store.Config, error) {
	if p.dataDir == "" {
		return store.Config{}, usage("--data-dir is missing")
	}
	return store.Config{Path: filepath.Join(p.dataDir, "oakum.db"), URL: p.databaseURL}, nil
}

func newAdminCommand(s *Streams) *cobra.Command {
	cmd := &cobra.Command{Use: "admin", Short: "Manage an installation, on the server's host"}
	var p place
	var readOnly bool
	var name string
	key := &cobra.Command{
		Use:   "new-key",
		Short: "Make an access key and print it in AWS's shared-credentials format",
		Long: `Make an access key and print it in AWS's shared-credentials format. The server may be running. The secret is
printed here and never again.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			kind := iam.Administrator
			if readOnly {
				kind = iam.ReadOnly
			}
			if name == "" {
				name = map[iam.Kind]string{iam.Administrator: "admin", iam.ReadOnly: "reader"}[kind]
			}
			id, secret, err := newKey(cmd.Context(), &p, name, kind)
			if err != nil {
				return err
			}
			_, err = s.Out.Write(server.CredentialsText("default", id, secret))
			return err
		},
	}
	p.register(key)
	key.Flags().BoolVar(&readOnly, "read-only", false, "a key that may read and change nothing")
	key.Flags().StringVar(&name, "name", "", "the key's user `NAME` in audit records")
	cmd.AddCommand(key)
	return cmd
}

func newKey(ctx context.Context, p *place, name string, kind iam.Kind) (id, secret string, err error) {
	c, err := p.config()
	if err != nil {
		return "", "", err
	}
	c.Beside = true
	st, err := store.Open(ctx, c)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	var accounts []store.Account
	if err := st.View(ctx, func(tx *store.Tx) (err error) { accounts, err = tx.Accounts(); return err }); err != nil {
		return "", "", err
	}
	if len(accounts) == 0 {
		return "", "", hinted("this installation has no account yet", "start the server once")
	}
	master, _, err := account.LoadMasterKey(p.dataDir, false, rand.Reader)
	if err != nil {
		return "", "", err
	}
	return account.New(st, master, rand.Reader, time.Now).NewKey(ctx, accounts[0].ID, name, kind)
}

func newBackupCommand(s *Streams) *cobra.Command {
	var p place
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the database; the server may be running",
		Long: `Write a consistent copy of the database to FILE. The server may be running. The copy can be restored into
SQLite and PostgreSQL alike. It does not hold DIR/master.key, without which the secrets in it cannot be read: keep
that file apart. Buckets (DIR/buckets) are plain files and are not part of it.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("give the file to write")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := p.config()
			if err != nil {
				return err
			}
			c.ReadOnly = true
			n, sum, err := backup(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "%s: %d bytes, sha256 %s\n", args[0], n, sum)
			fmt.Fprintf(s.Err, "oakum: keep %s too, in another place: the copy cannot be used without it\n", filepath.Join(p.dataDir, "master.key"))
			return nil
		},
	}
	p.register(cmd)
	return cmd
}

// backup writes FILE as a whole or not at all: zstd over the rows, with a checksum of zstd's own.
func backup(ctx context.Context, c store.Config, path string) (n int64, sum string, err error) {
	st, err := store.Open(ctx, c)
	if err != nil {
		return 0, "", err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, "", err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(tmp) // the failure is reported already
		}
	}()
	h := sha256.New()
	z, err := zstd.NewWriter(io.MultiWriter(f, h), zstd.WithEncoderCRC(true))
	if err != nil {
		return 0, "", err
	}
	if err := errors.Join(st.Dump(ctx, z), z.Close(), f.Sync()); err != nil {
		return 0, "", err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, "", err
	}
	if err := errors.Join(f.Close(), os.Rename(tmp, path)); err != nil {
		return 0, "", err
	}
	return info.Size(), hex.EncodeToString(h.Sum(nil)), nil
}

func newRestoreCommand(s *Streams) *cobra.Command {
	var p place
	var force bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore a copy made by oakum backup into an empty installation",
		Long: `Restore a copy made by "oakum backup" into an empty data directory or database. Put master.key of the old
installation into the data directory first. Commands that the copy shows as waiting are ended, not sent again.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("give the file to read")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c, err := p.config()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(p.dataDir, 0o700); err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(p.dataDir, "master.key")); err != nil && !force {
				return hinted("there is no master.key in "+p.dataDir, "copy the one of the old installation there, or say --without-master-key and make new access keys")
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			z, err := zstd.NewReader(bufio.NewReaderSize(f, 1<<20))
			if err != nil {
				return err
			}
			defer z.Close()
			st, err := store.Open(cmd.Context(), c)
			if err != nil {
				return err
			}
			if err := errors.Join(st.Load(cmd.Context(), z), st.Close()); err != nil {
				return err
			}
			fmt.Fprintf(s.Out, "restored %s into %s\n", args[0], p.dataDir)
			return nil
		},
	}
	p.register(cmd)
	cmd.Flags().BoolVar(&force, "without-master-key", false, "restore although the secrets in the copy cannot be read")
	return cmd
}
