package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"oakum.dev/awserr"
	"oakum.dev/patch/journal"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
)

// maxQueuedReports bounds the scan results that wait for the server: a newer one makes an older one pointless, but
// the history should not lose a short outage.
const maxQueuedReports = 8

func (n *Node) reportsDir() string { return filepath.Join(n.paths.dir, "reports") }

// DeliverReport hands a scan result to the server: the hashes first, then only the bodies that it does not hold.
// in carries both bodies. When the server cannot be reached the report is kept on disk, and the agent sends it when
// the server is back; queued is then true.
func (n *Node) DeliverReport(ctx context.Context, in *oakum.PutPatchResultInput) (queued bool, err error) {
	if n.creds.borrow != nil { // there is no agent that sends what an earlier run has left
		n.flushReports(ctx, slog.New(slog.DiscardHandler))
	}
	err = n.sendReport(ctx, in)
	if err == nil || permanent(err) {
		return false, err
	}
	if qerr := n.queueReport(in); qerr != nil {
		return false, errors.Join(err, qerr)
	}
	return true, err
}

// permanent reports whether the server has refused for good.
func permanent(err error) bool {
	e, ok := errors.AsType[*awserr.Error](err)
	return ok && e.Status >= 400 && e.Status < 500 && e.Code != "ThrottlingException"
}

func (n *Node) sendReport(ctx context.Context, in *oakum.PutPatchResultInput) error {
	first := *in
	first.Items, first.Available = nil, nil
	var out oakum.PutPatchResultOutput
	if err := n.Client().Call(ctx, "oakum", "PutPatchResult", &first, &out); err != nil {
		return err
	}
	if codec.Value(out.Stored) {
		return nil
	}
	if codec.Value(out.ItemsNeeded) {
		first.Items = in.Items
	}
	if codec.Value(out.AvailableNeeded) {
		first.Available = in.Available
	}
	out = oakum.PutPatchResultOutput{}
	if err := n.Client().Call(ctx, "oakum", "PutPatchResult", &first, &out); err != nil {
		return err
	}
	if !codec.Value(out.Stored) {
		return errors.New("the server did not store the result")
	}
	return nil
}

func (n *Node) queueReport(in *oakum.PutPatchResultInput) error {
	if err := os.MkdirAll(n.reportsDir(), 0o700); err != nil {
		return err
	}
	name := fmt.Sprintf("%020d.json", n.client.now().UnixNano())
	return journal.WriteFile(filepath.Join(n.reportsDir(), name), codec.Marshal(in), 0o600)
}

// flushReports sends what is queued, oldest first, and drops what the server refuses for good.
func (n *Node) flushReports(ctx context.Context, log *slog.Logger) {
	entries, err := os.ReadDir(n.reportsDir())
	if err != nil {
		return // nothing was ever queued
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	for i, name := range names {
		path := filepath.Join(n.reportsDir(), name)
		drop := i < len(names)-maxQueuedReports
		if !drop {
			drop = n.sendQueued(ctx, log, path)
		}
		if !drop {
			return
		}
		if err := os.Remove(path); err != nil {
			log.LogAttrs(ctx, slog.LevelWarn, "queued report not removed", slog.Any("err", err))
			return
		}
	}
}

// sendQueued reports whether the file is done with.
func (n *Node) sendQueued(ctx context.Context, log *slog.Logger, path string) bool {
	b, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	var in oakum.PutPatchResultInput
	if err := codec.Unmarshal(b, &in); err != nil {
		log.LogAttrs(ctx, slog.LevelWarn, "queued report is damaged", slog.Any("err", err))
		return true
	}
	err = n.sendReport(ctx, &in)
	switch {
	case err == nil:
		log.LogAttrs(ctx, slog.LevelInfo, "queued report delivered")
		return true
	case permanent(err):
		log.LogAttrs(ctx, slog.LevelWarn, "queued report refused", slog.Any("err", err))
		return true
	}
	return false
}
