"""The keys that an undeclared key may mean: the word of another tool, or a misspelt one."""

from __future__ import annotations

from collections.abc import Iterable

#: our keys of one meaning -> names in other recommenders, MLlib, scikit-learn, pandas and Optuna, in lower
#: case
_PEERS = {
    # models
    "rank factorSize": (
        "factors nfactors numfactors latentfactors k dim dims dimension embeddingsize embeddingdim "
        "latentdim components ncomponents numcomponents nfeatures numfeatures hiddendim embedding"
    ),
    "maxIter": (
        "iterations iteration iters iter niter niters numiter numiterations niterations epochs nepochs "
        "numepochs maxepochs epoch maxiterations steps nsteps numsteps"
    ),
    "regParam": (
        "reg lambda lam regularization regularisation regularizer reglambda l2 l2reg l2regularization "
        "weightdecay penalty regall ridge regparameter regcoef"
    ),
    "userRegParam": "reguser userreg lambdauser regpu userlambda",
    "itemRegParam": "regitem itemreg lambdaitem regqi itemlambda",
    "biasRegParam": "regbias biasreg lambdabias regbu regbi",
    "l1RegParam": "l1 l1reg l1regularization l1ratio lasso",
    "stepSize": "lr learningrate eta rate step lrall alpha0 gradientstep",
    "decay": "lrdecay learningratedecay",
    "implicitPrefs": "implicit implicitfeedback implicitpreferences useimplicit",
    "alpha": "confidence confidenceweight",
    "nonnegative": "nonneg nonnegativity nmf",
    "seed": "randomstate randomseed rng random",
    "patience": (
        "earlystopping earlystop earlystoppingrounds earlystoppingpatience niternochange stoppingrounds"
    ),
    "tol": "tolerance epsilon eps convergence delta",
    "threads": "njobs numthreads nthreads workers numworkers cores ncores",
    "batchSize miniBatchFraction": "batch minibatch minibatchsize nbatch",
    "initStdev initStd": "initstd initstdev initsigma stdev std sigma initstddev initscale",
    "biases": "bias usebias withbias usebiases biased fitbias addbias",
    "center": "mean globalmean demean centered usemean normalize",
    "clip": "clipratings ratingrange bounds cliprange",
    "userBlocks": "numuserblocks nuserblocks numblocks blocks nblocks",
    "itemBlocks": "numitemblocks nitemblocks",
    "initialModel": "init pretrained warmstart initmodel",
    "samples": "nsamples numsamples nkeptsamples keep",
    "burnIn": "burnin nburnin warmup",
    "chains": "nchains numchains",
    "type": "estimator algorithm algo kind class model method",
    "positiveFrom": "binarize threshold likethreshold minpositive",
    # columns
    "userCol userColumn": (
        "user users userid uid usercol usercolumn userkey customer customerid customercolumn"
    ),
    "itemCol itemColumn": (
        "item items itemid iid itemcol itemcolumn itemkey movie movieid moviecol moviecolumn product "
        "productid productcolumn"
    ),
    "ratingCol ratingColumn labelCol": (
        "rating ratings score scorecol scorecolumn value valuecol valuecolumn stars label labelcol "
        "labelcolumn ratingcol ratingcolumn target y"
    ),
    "timestampColumn": (
        "time timecol timecolumn ts tscolumn timestamp timestampcol date datecolumn datetime datetimecolumn "
        "moment"
    ),
    "timestampUnit": "timeunit unit tsunit",
    "timestampFormat": "dateformat timeformat datetimeformat datepattern timepattern strptime",
    "featuresCol": "features feature featurecol x vector",
    "predictionCol": "prediction predictions outputcol predictedcol",
    "weightCol weightColumn": "weight weights sampleweight weightcolumn",
    # data
    "source": "path file files input inputpath inputfile url uri location filename data datapath",
    "dataset": "format edition name fileformat kind type",
    "separator": "delimiter sep delim fielddelimiter fieldseparator columnseparator",
    "header": "hasheader skipheader headerrow",
    "encoding": "charset codec",
    "decimal": "decimalmark decimalpoint decimalseparator decimalcomma dec",
    "nullValues": "nullvalue navalues navalue nastrings missing missingvalues nan na",
    "idType": "keytype dtype ids",
    "ratingMin": "min minrating lowest minvalue ratinglow",
    "ratingMax": "max maxrating highest maxvalue ratinghigh",
    "ratingStep": "step granularity",
    "cacheFolder": "cache cachedir downloaddir downloadfolder",
    "maxBadFraction": "maxbad badfraction maxbadrows maxerrors tolerance badrows",
    # splits and evaluation
    "kind": "strategy method type rule splitter mode",
    "testFraction": "test testsize testratio testshare ratio holdout testsplit split fraction size",
    "validationFraction": (
        "validation validationsize validationratio val valsize valratio valfraction valid validfraction dev "
        "devfraction"
    ),
    "folds": "nfolds nsplits numfolds k cv",
    "fold": "foldindex foldnumber",
    "n": "topn top topk k lastn leavenout numitems nitems length listlength num count size",
    "sample": "subsample samplesize limit nrows maxrows",
    "ks": "k topk topn n cutoff cutoffs atk lengths",
    "relevantThreshold": "threshold relevancethreshold positivethreshold relevant minrating",
    "excludeSeen": (
        "filterseen removeseen filteralreadyliked filteralreadylikeditems excludeknown filterviewed seen"
    ),
    "candidates": "items whitelist allowed itemstorecommend allow",
    "blocked": "blacklist filteritems exclude excluded banned",
    "confidence": "confidencelevel level ci",
    "resamples": "bootstrap nbootstrap draws nresamples",
    # tuning, tracking, places, Spark
    "space": "searchspace params paramgrid grid paramspace paramdistributions",
    "trials": "ntrials numtrials maxtrials maxevals niter ncalls",
    "timeout": "maxtime budget timelimit",
    "concurrent": "njobs parallel parallelism workers jobs",
    "metric": "objective score scoring target goal criterion",
    "uri": "trackinguri url server host address mlflowuri",
    "experiment": "experimentname project",
    "runName": "name run",
    "registeredModel": "modelname registry registeredname",
    "lake": "output out folder root dir path base outputdir directory outputpath lakehouse",
    "master": "url cluster sparkmaster",
    "driverMemory": "memory heap mem drivermem",
    "shufflePartitions": "partitions numpartitions npartitions sqlshufflepartitions",
    # sections
    "data": "dataset input ingest source reader",
    "model": "train training als estimator algorithm params hyperparameters hyperparams",
    "evaluation": "eval evaluate metrics test",
    "split": "splits splitting",
    "tracking": "mlflow logging experiment",
    "recommend": "recommendation recommendations lists",
    "paths": "path output lake folders",
    "spark": "session cluster",
    "tune": "tuning search optuna study",
    "promote": "gate promotion",
    "crossvalidation": "crossvalidate cv crossval",
    "synthetic": "demo generated generate",
}


def meant(key: str, known: Iterable[str]) -> list[str]:
    """The keys of `known` that `key` may mean: of the same letters, the same meaning, or nearly the same.

    Only the part after the last dot counts.

    >>> meant("data.delimiter", ["data.separator", "data.header"]), meant("iterations", ["rank", "maxIter"])
    (['data.separator'], ['maxIter'])
    """
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    word = _letters(key.rpartition(".")[2][:50])
    same = [name for leaf, name in by_leaf.items() if _letters(leaf) == word]
    peers = [by_leaf[leaf] for leaf in _of_the_same_meaning(word) if leaf in by_leaf]
    return same or peers or _near(word, by_leaf)


def _of_the_same_meaning(word: str) -> list[str]:
    """Our keys for the meaning of `word` in any tool."""
    return [
        leaf
        for ours, theirs in _PEERS.items()
        if word in theirs.split() or word in map(_letters, ours.split())
        for leaf in ours.split()
    ]


def _near(word: str, by_leaf: dict[str, str]) -> list[str]:
    """Keys that differ from `word` by at most one slip of the fingers in every four letters.

    If there are none, keys that begin or end with `word`.
    """
    allowed = max(1, len(word) // 4)
    slips = {name: _slips(word, _letters(leaf)) for leaf, name in by_leaf.items()}
    near = [name for name in sorted(slips, key=lambda name: slips[name]) if slips[name] <= allowed]
    leaves = {_letters(leaf): name for leaf, name in by_leaf.items()}
    parts = [
        name
        for leaf, name in leaves.items()
        if len(word) > 3 and (leaf.startswith(word) or leaf.endswith(word))
    ]
    return near[:1] or parts[:3]


def _letters(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())


def _slips(one: str, other: str) -> int:
    """The number of letters to add, drop, replace or swap with the next one, from `one` to the `other`.

    This is the optimal string alignment.

    >>> _slips("rnak", "rank"), _slips("gendr", "gender"), _slips("genrecolumn", "usercolumn")
    (1, 1, 4)
    """
    rows = [list(range(len(other) + 1))]
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b)))
            if i > 1 and j > 1 and (one[i - 2], a) == (b, other[j - 2]):
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]
