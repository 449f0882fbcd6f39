package throwaway

import "testing"

func TestPortsAreReservedOnce(t *testing.T) {
	low, high := portRange()
	seen := make(map[int]bool)
	for range 100 {
		p, err := ReservePorts()
		if err != nil {
			t.Fatal(err)
		}
		defer p.Release()
		for i := range reserved {
			port := p.At(i)
			if seen[port] {
				t.Errorf("port %d came twice", port)
			}
			if port < low || port >= high {
				t.Errorf("port %d is outside %d–%d", port, low, high)
			}
			seen[port] = true
		}
	}
}

func TestPortsStayOutOfTheEphemeralRange(t *testing.T) {
	for _, tc := range []struct{ first, last, low, high int }{
		{32768, 60999, 19768, 32768},
		{15000, 60999, 10000, 15000},
		{11001, 60999, 10000, 11000},
		{1024, 60999, 61000, 65536},
		{1024, 65535, 20000, 32768},
	} {
		low, high := outside(tc.first, tc.last)
		if low != tc.low || high != tc.high {
			t.Errorf("outside(%d, %d) = %d, %d; want %d, %d", tc.first, tc.last, low, high, tc.low, tc.high)
		}
	}
}
