package server

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"oakum.dev/wire/codec"
)

// metrics are what /metrics shows. Labels have bounded sets of values only.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "oakum_api_requests_total", Help: "API calls by operation and error code."}, []string{"service", "op", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oakum_api_request_seconds", Help: "Time to answer an API call; long polls are left out.", Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5},
		}, []string{"service"}),
	}
	m.registry.MustRegister(m.requests, m.took, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) observe(op *codec.Operation, code string, took time.Duration) {
	m.requests.WithLabelValues(op.Service, op.Name, code).Inc()
	if op.Name != "GetMessages" {
		m.took.WithLabelValues(op.Service).Observe(took.Seconds())
	}
}

// gauge shows a count as it is when somebody looks.
func gauge(name, help string, count func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(count()) })
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
