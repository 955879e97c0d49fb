# make demo: the whole recipe on toy speech.   make test: the tests.   Each makes .venv first.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready

.PHONY: help install demo test k2 kaldifeat clean

help:
	@echo "make demo       toy speech through every stage of egs/librispeech, to a table of word error rates"
	@echo "make test       run the tests"
	@echo "make k2         set up k2 for graph decoding (make demo does it too)"
	@echo "make kaldifeat  build kaldifeat, a second feature back end"
	@echo "make install    only make $(VENV)"
	@echo "make clean      remove $(VENV) and what the toy recipes wrote"

install: $(READY)

$(READY): requirements/pinned.txt setup.py
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/pinned.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	bash tools/fix_torchaudio.sh
	touch $(READY)

k2: $(READY)
	bash tools/install_k2.sh

kaldifeat: $(READY)
	bash tools/install_kaldifeat.sh

demo: $(READY)
	bash tools/install_k2.sh || echo "k2 cannot be had here: decoding goes on with kaldi-decoder"
	bash egs/librispeech/run.sh --toy

test: $(READY)
	$(VENV)/bin/python -m pytest -q -rs -n logical --dist loadfile

clean:
	rm -rf $(VENV) egs/*/toy egs/*/*-toy
