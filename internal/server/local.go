package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"oakum.dev/compliance"
	"oakum.dev/document"
	"oakum.dev/iam"
	"oakum.dev/internal/audit"
	"oakum.dev/internal/store"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/ssm"
)

// local is the context of what the server's own process does as an administrator, as "oakum up" does for its
// first node.
func (s *Server) local(ctx context.Context) context.Context {
	return iam.WithPrincipal(audit.WithPending(ctx, nil), iam.Principal{
		Kind: iam.Administrator, Account: s.cfg.Account, Region: s.cfg.Region, ARN: "arn:aws:iam::" + s.cfg.Account + ":root", UserID: s.cfg.Account,
	})
}

// NewActivation makes an activation for one node, for use on the server's own host.
func (s *Server) NewActivation(ctx context.Context, name string) (id, code string, err error) {
	role := "service-role/SSMRole"
	out, err := s.nodes.CreateActivation(s.local(ctx), &ssm.CreateActivationInput{IamRole: &role, DefaultInstanceName: &name})
	if err != nil {
		return "", "", err
	}
	return *out.ActivationId, *out.ActivationCode, nil
}

// Knows reports whether the node is registered here.
func (s *Server) Knows(ctx context.Context, nodeID string) (bool, error) {
	err := s.store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.Node(store.Scope{Account: s.cfg.Account, Region: s.cfg.Region}, nodeID)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// ScanSummary is what a scan of one node found, in short.
type ScanSummary struct {
	PlatformName, PlatformVersion, BaselineName string
	Missing, Security, Installed                int
	RebootRequired                              bool
	RebootReasons                               []string
}

// ScanNode sends AWS-RunPatchBaseline with Operation=Scan to a node once it is online and waits for its end.
func (s *Server) ScanNode(ctx context.Context, nodeID string) (*ScanSummary, error) {
	ctx = s.local(ctx)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	wait := func(done func() (bool, error)) error {
		for {
			if ok, err := done(); ok || err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-tick.C:
			}
		}
	}
	err := wait(func() (bool, error) {
		out, err := s.nodes.GetConnectionStatus(ctx, &ssm.GetConnectionStatusInput{Target: &nodeID})
		return err == nil && *out.Status == "connected", err
	})
	if err != nil {
		return nil, err
	}
	name := document.RunPatchBaseline
	sent, err := s.commands.SendCommand(ctx, &ssm.SendCommandInput{
		DocumentName: &name, InstanceIds: []string{nodeID}, Parameters: map[string][]string{"Operation": {"Scan"}},
	})
	if err != nil {
		return nil, err
	}
	var inv *ssm.GetCommandInvocationOutput
	step := "PatchLinux"
	err = wait(func() (bool, error) {
		list, err := s.commands.ListCommandInvocations(ctx, &ssm.ListCommandInvocationsInput{CommandId: sent.Command.CommandId, InstanceId: &nodeID})
		if err != nil || len(list.CommandInvocations) == 0 {
			return false, err
		}
		switch *list.CommandInvocations[0].Status {
		case "Pending", "InProgress", "Delayed":
			return false, nil
		}
		// Read after the end was seen: now the step's result is there.
		inv, err = s.commands.GetCommandInvocation(ctx, &ssm.GetCommandInvocationInput{CommandId: sent.Command.CommandId, InstanceId: &nodeID, PluginName: &step})
		return err == nil, err
	})
	if err != nil {
		return nil, err
	}
	if codec.Value(inv.Status) != "Success" {
		return nil, fmt.Errorf("the step ended as %s: %s", codec.Value(inv.StatusDetails), codec.Value(inv.StandardErrorContent))
	}
	return s.summary(ctx, nodeID)
}

func (s *Server) summary(ctx context.Context, nodeID string) (*ScanSummary, error) {
	res, err := s.reports.GetPatchResult(ctx, &oakum.GetPatchResultInput{InstanceId: &nodeID})
	if err != nil {
		return nil, err
	}
	if res.Header == nil {
		return nil, errors.New("the scan reported nothing")
	}
	h, err := compliance.DecodeHeader([]byte(*res.Header))
	if err != nil {
		return nil, err
	}
	return &ScanSummary{
		PlatformName: h.PlatformName, PlatformVersion: h.PlatformVersion, BaselineName: h.BaselineName, Missing: h.Counts.Missing,
		Security: h.Counts.SecurityNonCompliant, Installed: h.Counts.Installed + h.Counts.InstalledOther, RebootRequired: h.Reboot.Required, RebootReasons: h.Reboot.Reasons,
	}, nil
}

// DatabaseBytes is the size of the embedded database's used pages, or of the whole PostgreSQL database.
func (s *Server) DatabaseBytes(ctx context.Context) (int64, error) { return s.store.Bytes(ctx) }
