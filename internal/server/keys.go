package server

import (
	"context"

	"oakum.dev/iam"
)

// NewKey makes an access key of the installation's account: an administrator's, or one that may only read.
func (s *Server) NewKey(ctx context.Context, name string, kind iam.Kind) (id, secret string, err error) {
	return s.accounts.NewKey(ctx, s.cfg.Account, name, kind)
}
