// Package server builds a whole Oakum server from a Config and runs it: store, services, API front, node
// channels, TLS, background work. It is the only package that knows all others. Start with New and Run.
package server

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
	_ "time/tzdata" // of maintenance windows, on machines that have none

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"oakum.dev/iam"
	"oakum.dev/internal/account"
	"oakum.dev/internal/api"
	"oakum.dev/internal/association"
	"oakum.dev/internal/audit"
	"oakum.dev/internal/bucket"
	"oakum.dev/internal/channel"
	"oakum.dev/internal/command"
	"oakum.dev/internal/datasync"
	"oakum.dev/internal/node"
	"oakum.dev/internal/page"
	"oakum.dev/internal/patchbaseline"
	"oakum.dev/internal/report"
	"oakum.dev/internal/setting"
	"oakum.dev/internal/ssmdocument"
	"oakum.dev/internal/store"
	"oakum.dev/internal/tagging"
	"oakum.dev/internal/window"
	"oakum.dev/patch/journal"
	"oakum.dev/wire/codec"
	"oakum.dev/wire/oakum"
	"oakum.dev/wire/resourcegroups"
	"oakum.dev/wire/sigv4"
	"oakum.dev/wire/ssm"
	"oakum.dev/wire/sts"
	wiretagging "oakum.dev/wire/tagging"
)

// Server is a running installation. Make it with New; Close it when Run has not been called.
type Server struct {
	cfg          Config
	log          *slog.Logger
	store        *store.Store
	accounts     *account.Service
	nodes        *node.Service
	tags         *tagging.Service
	settings     *setting.Service
	commands     *command.Service
	windows      *window.Service
	associations *association.Service
	documents    *ssmdocument.Service
	reports      *report.Service
	baselines    *patchbaseline.Service
	buckets      *bucket.Store
	syncs        *datasync.Service
	hub          *channel.Hub
	metrics      *metrics
	auth         *authority
	certs        *certificates
	urls         []*url.URL
	listeners    []*listener
	proxies      []netip.Prefix
	handler      http.Handler
	binaries     binaries
	soon         chan struct{} // there is work to be done now
	draining     atomic.Bool
}

// New opens or creates the data directory, the database and the listeners. Nothing is served before Run.
func New(ctx context.Context, cfg Config) (s *Server, err error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Region == "" {
		cfg.Region = DefaultRegion
	}
	s = &Server{cfg: cfg, log: cfg.Log, metrics: newMetrics(), soon: make(chan struct{}, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, text := range cfg.Listen {
		u, err := parseListen(text, cfg.InsecureHTTP)
		if err != nil {
			return s, err
		}
		s.urls = append(s.urls, u)
	}
	for _, p := range cfg.BehindProxy {
		prefix, err := parsePrefix(p)
		if err != nil {
			return s, err
		}
		s.proxies = append(s.proxies, prefix)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return s, fmt.Errorf("data directory: %w", err)
	}
	if err := s.openStore(ctx); err != nil {
		return s, err
	}
	if err := s.openTLS(); err != nil {
		return s, err
	}
	if err := s.build(ctx); err != nil {
		return s, err
	}
	s.listeners, err = listen(s.urls, s.certs)
	return s, err
}

func parsePrefix(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("proxy address %q: %w", text, err)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// openStore opens the database and the master key, and makes the account on first start.
func (s *Server) openStore(ctx context.Context) (err error) {
	s.store, err = store.Open(ctx, store.Config{Path: filepath.Join(s.cfg.DataDir, "oakum.db"), URL: s.cfg.DatabaseURL, Log: s.log, Now: s.cfg.Now})
	if err != nil {
		return err
	}
	var existing []store.Account
	if err := s.store.View(ctx, func(tx *store.Tx) (err error) { existing, err = tx.Accounts(); return err }); err != nil {
		return err
	}
	master, made, err := account.LoadMasterKey(s.cfg.DataDir, len(existing) == 0, rand.Reader)
	if err != nil {
		return err
	}
	if made {
		s.log.Info("made the master key", "path", filepath.Join(s.cfg.DataDir, "master.key"), "note", "copies made by backup leave it out: keep one")
	}
	s.accounts = account.New(s.store, master, rand.Reader, s.cfg.Now)
	id := s.cfg.Account
	if id == "" {
		id = DefaultAccount
		if len(existing) > 0 {
			id = existing[0].ID
		}
	}
	s.cfg.Account = id
	if _, err := s.accounts.Ensure(ctx, id); err != nil {
		return err
	}
	return s.ensureAdministrator(ctx)
}

// CredentialsFile is the file that holds the first administrator's key, in AWS's shared-credentials format.
func CredentialsFile(dataDir string) string { return filepath.Join(dataDir, "admin.credentials") }

// ensureAdministrator makes the first access key. The file comes first, under another name, then the key, then the
// file's own name: after a crash in between the next start goes on from what there is.
func (s *Server) ensureAdministrator(ctx context.Context) error {
	path := CredentialsFile(s.cfg.DataDir)
	next := path + ".next"
	_, err := os.Stat(path)
	if err == nil {
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if b, err := os.ReadFile(next); err == nil {
		made := false
		err := s.store.View(ctx, func(tx *store.Tx) error {
			_, err := tx.AccessKey(keyID(b))
			made = err == nil
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return err
		}
		if made {
			return os.Rename(next, path)
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var keys int64
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		keys, err = tx.AccessKeyCount(s.cfg.Account, string(iam.Administrator))
		return err
	})
	if err != nil || keys > 0 {
		return err // the file was taken away on purpose: oakum admin new-key makes another key
	}
	_, _, err = s.accounts.NewKeyKept(ctx, s.cfg.Account, "admin", iam.Administrator, func(id, secret string) error {
		return journal.WriteFile(next, CredentialsText("default", id, secret), 0o600)
	})
	if err != nil {
		return err
	}
	return os.Rename(next, path)
}

// keyID reads the access key id out of what CredentialsText wrote.
func keyID(credentials []byte) string {
	_, rest, _ := strings.Cut(string(credentials), "aws_access_key_id = ")
	id, _, _ := strings.Cut(rest, "\n")
	return id
}

// CredentialsText is a key as a profile of AWS's shared-credentials format.
func CredentialsText(profile, id, secret string) []byte {
	return fmt.Appendf(nil, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n", profile, id, secret)
}

func (s *Server) openTLS() error {
	var hosts []string
	needed := false
	for _, u := range s.urls {
		hosts = append(hosts, u.Hostname())
		needed = needed || u.Scheme == "https"
	}
	if !needed {
		return nil
	}
	s.certs = &certificates{names: serverNames(hosts), now: s.cfg.Now}
	if s.cfg.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(s.cfg.TLSCert, s.cfg.TLSKey)
		if err != nil {
			return fmt.Errorf("read the certificate: %w", err)
		}
		s.certs.given = &pair
		return nil
	}
	var err error
	if s.auth, err = loadAuthority(s.cfg.DataDir, s.cfg.Now()); err != nil {
		return err
	}
	s.certs.auth = s.auth
	s.log.Info("the server's certificates are signed by its own authority", "ca_file", filepath.Join(s.cfg.DataDir, "ca.pem"), "ca_pin", s.auth.fingerprint())
	return nil
}

// build makes the services in the order in which they depend on each other.
func (s *Server) build(ctx context.Context) error {
	pageKey, err := s.accounts.Derive("page tokens")
	if err != nil {
		return err
	}
	linkKey, err := s.accounts.Derive("snapshot links")
	if err != nil {
		return err
	}
	pages := page.Book{Pager: &codec.Pager{Key: pageKey}}
	now := s.cfg.Now
	s.nodes = node.New(s.store, s.accounts, pages, rand.Reader, now)
	s.binaries = binaries{self: s.cfg.Binary, dir: filepath.Join(s.cfg.DataDir, "binaries")}
	s.tags = tagging.New(s.store, pages)
	s.tags.Retagged = s.nodes.Retagged
	s.settings = setting.New(s.store)
	s.documents = ssmdocument.New(s.store, pages)
	s.documents.Programs, s.documents.PublicSharing = s.binaries.Sums, setting.PublicSharingAllowed
	s.commands = command.New(s.store, s.documents, pages, rand.Reader, now, s.log)
	s.reports = report.New(s.store, pages, s.nodes, rand.Reader, now)
	s.commands.Groups = s.tags.NodesOf
	s.reports.Status, s.reports.Groups = s.instanceStatus, s.tags.GroupsOf
	s.baselines = patchbaseline.New(s.store, pages, s.nodes, linkKey, rand.Reader, now)
	s.baselines.LivePatchReboot = s.cfg.CompatLivePatchReboot
	tokenKey, err := s.accounts.Derive("control channel tokens")
	if err != nil {
		return err
	}
	s.hub = channel.NewHub(s.commands, s.nodes.Seen, tokenKey, now, s.log)
	s.commands.Wake, s.commands.Connected, s.commands.Programs = s.hub.Wake, s.connected, s.binaries.Sums
	s.nodes.OnDeregister = s.hub.Drop
	s.windows = window.New(s.store, pages, s.commands, rand.Reader, now, s.log)
	s.windows.Wake, s.windows.Groups = s.hub.Wake, s.tags.GroupsOf
	s.associations = association.New(s.store, pages, s.commands, s.reports, rand.Reader, now, s.log)
	s.associations.Wake, s.associations.Soon, s.associations.Groups = s.hub.Wake, s.workSoon, s.tags.GroupsOf
	s.associations.GroupExists, s.associations.OutputURL = s.tags.GroupExists, s.commands.OutputURL
	if s.buckets, err = bucket.Open(filepath.Join(s.cfg.DataDir, "buckets")); err != nil {
		return err
	}
	s.syncs = datasync.New(s.store, pages, s.buckets, s.reports)
	s.reports.Changed = s.syncs.Changed
	front := api.New(api.Config{
		Credentials: s.accounts, Operations: s.operations(), Landing: http.HandlerFunc(s.landing), AuditLog: s.auditLog, Observe: s.metrics.observe,
		Log: s.log, Now: now, ClientIP: s.clientIP, TrustedProxy: s.trustedProxy,
		REST: map[string]api.REST{
			"s3": {
				Handler: &bucket.Handler{Store: s.buckets, Hosts: s.hostNames(), Log: s.log}, Stream: true, Unsigned: true, Path: sigv4.S3, WriteError: bucket.WriteError,
			},
			"ssmmessages": {Handler: s.hub.ControlChannel(), WriteError: channel.WriteError, BodyLimit: 16 << 10},
		},
	})
	s.metrics.registry.MustRegister(newFreezeCollector(s), gauge("oakum_polls_parked", "Long polls of nodes that wait for a message.", s.hub.Parked),
		gauge("oakum_control_channels_open", "Control channels of nodes.", s.hub.Open),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "oakum_store_transactions_total", Help: "Transactions of the database, reads included."}, func() float64 { return float64(s.store.Begun()) }))
	s.handler = s.routes(front)
	return s.hub.Load(ctx)
}

// instanceStatus is a node's status in inventory.
func (s *Server) instanceStatus(n store.Node) string {
	if node.PingStatus(n, s.cfg.Now()) == "ConnectionLost" {
		return "ConnectionLost"
	}
	return "Active"
}

// connected tells which nodes are Online.
func (s *Server) connected(nodes []store.Node) map[string]bool {
	s.nodes.Lay(nodes)
	out := map[string]bool{}
	for _, n := range nodes {
		out[n.ID] = node.PingStatus(n, s.cfg.Now()) == "Online"
	}
	return out
}

func (s *Server) hostNames() []string {
	var out []string
	for _, u := range s.urls {
		out = append(out, u.Hostname())
	}
	if h, err := os.Hostname(); err == nil {
		out = append(out, h)
	}
	return out
}

// operations is the table of everything that can be called.
func (s *Server) operations() []codec.Operation {
	systemsManager := &ssm.Handlers{
		AddTagsToResource: s.tags.AddTagsToResource, CancelCommand: s.commands.CancelCommand, CreateActivation: s.nodes.CreateActivation,
		CreateDocument: s.documents.CreateDocument, DeleteDocument: s.documents.DeleteDocument,
		CreatePatchBaseline: s.baselines.CreatePatchBaseline, DeleteActivation: s.nodes.DeleteActivation, DeletePatchBaseline: s.baselines.DeletePatchBaseline,
		DeregisterManagedInstance:                s.nodes.DeregisterManagedInstance,
		DeregisterPatchBaselineForPatchGroup:     s.baselines.DeregisterPatchBaselineForPatchGroup,
		DescribeActivations:                      s.nodes.DescribeActivations,
		DescribeAvailablePatches:                 s.baselines.DescribeAvailablePatches,
		DescribeDocument:                         s.documents.DescribeDocument,
		DescribeDocumentPermission:               s.documents.DescribeDocumentPermission,
		DescribeEffectivePatchesForPatchBaseline: s.baselines.DescribeEffectivePatchesForPatchBaseline,
		DescribeInstanceInformation:              s.nodes.DescribeInstanceInformation,
		DescribeInstancePatchStates:              s.reports.DescribeInstancePatchStates,
		DescribeInstancePatchStatesForPatchGroup: s.reports.DescribeInstancePatchStatesForPatchGroup,
		DescribeInstancePatches:                  s.reports.DescribeInstancePatches,
		DescribePatchBaselines:                   s.baselines.DescribePatchBaselines,
		DescribePatchGroupState:                  s.reports.DescribePatchGroupState,
		DescribePatchGroups:                      s.baselines.DescribePatchGroups,
		DescribePatchProperties:                  s.baselines.DescribePatchProperties,
		CreateResourceDataSync:                   s.syncs.CreateResourceDataSync,
		DeleteResourceDataSync:                   s.syncs.DeleteResourceDataSync,
		DeleteInventory:                          s.reports.DeleteInventory,
		DescribeInventoryDeletions:               s.reports.DescribeInventoryDeletions,
		GetCommandInvocation:                     s.commands.GetCommandInvocation,
		GetConnectionStatus:                      s.nodes.GetConnectionStatus,
		GetDefaultPatchBaseline:                  s.baselines.GetDefaultPatchBaseline,
		GetDeployablePatchSnapshotForInstance:    s.baselines.GetDeployablePatchSnapshotForInstance,
		GetDocument:                              s.documents.GetDocument,
		GetInventory:                             s.reports.GetInventory,
		GetInventorySchema:                       s.reports.GetInventorySchema,
		GetPatchBaseline:                         s.baselines.GetPatchBaseline,
		GetPatchBaselineForPatchGroup:            s.baselines.GetPatchBaselineForPatchGroup,
		GetServiceSetting:                        s.settings.GetServiceSetting,
		ListCommandInvocations:                   s.commands.ListCommandInvocations,
		ListCommands:                             s.commands.ListCommands,
		ListComplianceItems:                      s.reports.ListComplianceItems,
		ListComplianceSummaries:                  s.reports.ListComplianceSummaries,
		ListDocumentVersions:                     s.documents.ListDocumentVersions,
		ListDocuments:                            s.documents.ListDocuments,
		ListInstanceAssociations:                 s.associations.ListInstanceAssociations,
		ListInventoryEntries:                     s.reports.ListInventoryEntries,
		ListResourceComplianceSummaries:          s.reports.ListResourceComplianceSummaries,
		ListResourceDataSync:                     s.syncs.ListResourceDataSync,
		ListTagsForResource:                      s.tags.ListTagsForResource,
		ModifyDocumentPermission:                 s.documents.ModifyDocumentPermission,
		PutComplianceItems:                       s.reports.PutComplianceItems,
		PutInventory:                             s.reports.PutInventory,
		RegisterDefaultPatchBaseline:             s.baselines.RegisterDefaultPatchBaseline,
		RegisterManagedInstance:                  s.nodes.RegisterManagedInstance,
		RegisterPatchBaselineForPatchGroup:       s.baselines.RegisterPatchBaselineForPatchGroup,
		RemoveTagsFromResource:                   s.tags.RemoveTagsFromResource,
		RequestManagedInstanceRoleToken:          s.nodes.RequestManagedInstanceRoleToken,
		ResetServiceSetting:                      s.settings.ResetServiceSetting,
		SendCommand:                              s.commands.SendCommand,
		UpdateDocument:                           s.documents.UpdateDocument,
		UpdateDocumentDefaultVersion:             s.documents.UpdateDocumentDefaultVersion,
		UpdateInstanceInformation:                s.nodes.UpdateInstanceInformation,
		UpdateManagedInstancePublicKey:           s.nodes.UpdateManagedInstancePublicKey,
		UpdateManagedInstanceRole:                s.nodes.UpdateManagedInstanceRole,
		UpdateResourceDataSync:                   s.syncs.UpdateResourceDataSync,
		UpdateServiceSetting:                     s.settings.UpdateServiceSetting,
		UpdatePatchBaseline:                      s.baselines.UpdatePatchBaseline,

		CancelMaintenanceWindowExecution:                  s.windows.CancelMaintenanceWindowExecution,
		CreateMaintenanceWindow:                           s.windows.CreateMaintenanceWindow,
		DeleteMaintenanceWindow:                           s.windows.DeleteMaintenanceWindow,
		DeregisterTargetFromMaintenanceWindow:             s.windows.DeregisterTargetFromMaintenanceWindow,
		DeregisterTaskFromMaintenanceWindow:               s.windows.DeregisterTaskFromMaintenanceWindow,
		DescribeMaintenanceWindowExecutionTaskInvocations: s.windows.DescribeMaintenanceWindowExecutionTaskInvocations,
		DescribeMaintenanceWindowExecutionTasks:           s.windows.DescribeMaintenanceWindowExecutionTasks,
		DescribeMaintenanceWindowExecutions:               s.windows.DescribeMaintenanceWindowExecutions,
		DescribeMaintenanceWindowSchedule:                 s.windows.DescribeMaintenanceWindowSchedule,
		DescribeMaintenanceWindowTargets:                  s.windows.DescribeMaintenanceWindowTargets,
		DescribeMaintenanceWindowTasks:                    s.windows.DescribeMaintenanceWindowTasks,
		DescribeMaintenanceWindows:                        s.windows.DescribeMaintenanceWindows,
		DescribeMaintenanceWindowsForTarget:               s.windows.DescribeMaintenanceWindowsForTarget,
		GetMaintenanceWindow:                              s.windows.GetMaintenanceWindow,
		GetMaintenanceWindowExecution:                     s.windows.GetMaintenanceWindowExecution,
		GetMaintenanceWindowExecutionTask:                 s.windows.GetMaintenanceWindowExecutionTask,
		GetMaintenanceWindowExecutionTaskInvocation:       s.windows.GetMaintenanceWindowExecutionTaskInvocation,
		GetMaintenanceWindowTask:                          s.windows.GetMaintenanceWindowTask,
		RegisterTargetWithMaintenanceWindow:               s.windows.RegisterTargetWithMaintenanceWindow,
		RegisterTaskWithMaintenanceWindow:                 s.windows.RegisterTaskWithMaintenanceWindow,
		UpdateMaintenanceWindow:                           s.windows.UpdateMaintenanceWindow,
		UpdateMaintenanceWindowTarget:                     s.windows.UpdateMaintenanceWindowTarget,
		UpdateMaintenanceWindowTask:                       s.windows.UpdateMaintenanceWindowTask,

		CreateAssociation:                     s.associations.CreateAssociation,
		CreateAssociationBatch:                s.associations.CreateAssociationBatch,
		DeleteAssociation:                     s.associations.DeleteAssociation,
		DescribeAssociation:                   s.associations.DescribeAssociation,
		DescribeAssociationExecutionTargets:   s.associations.DescribeAssociationExecutionTargets,
		DescribeAssociationExecutions:         s.associations.DescribeAssociationExecutions,
		DescribeEffectiveInstanceAssociations: s.associations.DescribeEffectiveInstanceAssociations,
		DescribeInstanceAssociationsStatus:    s.associations.DescribeInstanceAssociationsStatus,
		ListAssociationVersions:               s.associations.ListAssociationVersions,
		ListAssociations:                      s.associations.ListAssociations,
		StartAssociationsOnce:                 s.associations.StartAssociationsOnce,
		UpdateAssociation:                     s.associations.UpdateAssociation,
		UpdateAssociationStatus:               s.associations.UpdateAssociationStatus,
		UpdateInstanceAssociationStatus:       s.associations.UpdateInstanceAssociationStatus,
	}
	ours := &oakum.Handlers{
		PutPatchResult: s.reports.PutPatchResult, GetPatchResult: s.reports.GetPatchResult, DescribeNodes: s.reports.DescribeNodes, GetFleetSummary: s.reports.GetFleetSummary,
		PutInstallFreeze: s.commands.PutInstallFreeze, GetInstallFreeze: s.commands.GetInstallFreeze, DeleteInstallFreeze: s.commands.DeleteInstallFreeze,
	}
	tags := &wiretagging.Handlers{
		GetResources: s.tags.GetResources, GetTagKeys: s.tags.GetTagKeys, GetTagValues: s.tags.GetTagValues, TagResources: s.tags.TagResources,
		UntagResources: s.tags.UntagResources,
	}
	groups := &resourcegroups.Handlers{
		CreateGroup: s.tags.CreateGroup, DeleteGroup: s.tags.DeleteGroup, GetGroup: s.tags.GetGroup, GetGroupConfiguration: s.tags.GetGroupConfiguration,
		GetGroupQuery: s.tags.GetGroupQuery, GetTags: s.tags.GetTags, ListGroupResources: s.tags.ListGroupResources, ListGroups: s.tags.ListGroups,
		SearchResources: s.tags.SearchResources, Tag: s.tags.Tag, Untag: s.tags.Untag, UpdateGroup: s.tags.UpdateGroup, UpdateGroupQuery: s.tags.UpdateGroupQuery,
	}
	tokens := &sts.Handlers{GetCallerIdentity: s.accounts.GetCallerIdentity}
	var all []codec.Operation
	all = append(all, systemsManager.Operations()...)
	all = append(all, ours.Operations()...)
	all = append(all, tokens.Operations()...)
	all = append(all, tags.Operations()...)
	all = append(all, groups.Operations()...)
	return append(all, s.hub.Handlers().Operations()...)
}

// auditLog keeps the record of a call that changed nothing: a read, a denied or a failed one.
func (s *Server) auditLog(ctx context.Context, r *audit.Record) error {
	if !r.Claim() {
		return nil
	}
	err := s.store.Update(audit.WithPending(ctx, nil), func(tx *store.Tx) error { return tx.AppendAudit(r) })
	if err != nil {
		r.Release()
		return err
	}
	r.Written()
	return nil
}

func (s *Server) trustedProxy(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, p := range s.proxies {
		if p.Contains(ip.Unmap()) {
			return true
		}
	}
	return false
}

// clientIP is the peer's address, or what a trusted proxy says of its own peer.
func (s *Server) clientIP(r *http.Request) string {
	if s.trustedProxy(r) {
		// The last entry is the proxy's own; those before it, and earlier lines, are what its peer claimed.
		list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if ip, err := netip.ParseAddr(strings.TrimSpace(list[len(list)-1])); err == nil {
			return ip.String()
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// Addresses are the URLs under which clients on this machine reach the server.
func (s *Server) Addresses() []string {
	var out []string
	for _, l := range s.listeners {
		out = append(out, l.address())
	}
	return out
}

// Account is the account of this installation.
func (s *Server) Account() string { return s.cfg.Account }

// Close releases what New took.
func (s *Server) Close() error {
	var errs []error
	for _, l := range s.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.buckets != nil {
		errs = append(errs, s.buckets.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// drainTime bounds how long a stopping server waits for calls under way.
const drainTime = 10 * time.Second

// Run serves until ctx ends, then lets calls under way finish, writes what is in memory and closes everything.
func (s *Server) Run(ctx context.Context) error {
	hs := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	g, gctx := errgroup.WithContext(work)
	for _, l := range s.listeners {
		g.Go(func() error {
			if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	s.background(gctx, g)
	select {
	case <-ctx.Done():
	case <-gctx.Done(): // a listener failed
	}
	s.draining.Store(true)
	s.hub.Close()
	shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := hs.Shutdown(shut)
	if errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("calls were cut off at the end of the drain time")
		err = hs.Close()
	}
	stopWork()
	if werr := g.Wait(); !errors.Is(werr, context.Canceled) {
		err = errors.Join(err, werr)
	}
	if ferr := s.nodes.Flush(shut); ferr != nil {
		s.log.Warn("the last heartbeats were not written", "err", ferr)
	}
	return errors.Join(err, s.Close())
}
