module example.com/hot

go 1.24

require (
	github.com/cloudflare/tableflip v1.2.3
	github.com/facebookgo/grace v0.0.0-20180706040059-75cf19382434
	github.com/fitstar/falcore v1.0.2
	github.com/fvbock/endless v0.0.0-20170109170031-447134032cb6
)

require (
	github.com/facebookgo/clock v0.0.0-20150410010913-600d898af40a // indirect
	github.com/facebookgo/httpdown v0.0.0-20180706035922-5979d39b15c2 // indirect
	github.com/facebookgo/stats v0.0.0-20151006221625-1b76add642e4 // indirect
	golang.org/x/sys v0.0.0-20210119212857-b64e53b001e4 // indirect
)
