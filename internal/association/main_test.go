package association

import (
	"testing"

	"oakum.dev/internal/oakumtest"
)

func TestMain(m *testing.M) { oakumtest.Main(m) }
