package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"oakum.dev/internal/store"
)

// freezes lists the freezes in effect in this installation's account. It is for pages and metrics, which must answer
// when the database does not.
func (s *Server) freezes(ctx context.Context) ([]store.Freeze, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var out []store.Freeze
	err := s.store.View(ctx, func(tx *store.Tx) (err error) { out, err = tx.Freezes(s.cfg.Account); return err })
	return out, err
}

// freezeCollector tells /metrics how long installs stay frozen in each region where they are.
type freezeCollector struct {
	s    *Server
	desc *prometheus.Desc
}

func newFreezeCollector(s *Server) *freezeCollector {
	return &freezeCollector{s, prometheus.NewDesc("oakum_install_freeze_seconds",
		"Time until the install freeze of the region ends; 0 in the server's own region when there is none.", []string{"region"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *freezeCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *freezeCollector) Collect(ch chan<- prometheus.Metric) {
	list, err := c.s.freezes(context.Background())
	if err != nil {
		c.s.log.Warn("the install freeze is missing from the metrics", "err", err)
		return // no value is better than a wrong one, and than no metrics at all
	}
	left := map[string]float64{c.s.cfg.Region: 0}
	for _, f := range list {
		left[f.Region] = f.EndsAt.Sub(c.s.cfg.Now()).Seconds()
	}
	for region, v := range left {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, v, region)
	}
}
