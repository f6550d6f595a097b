# Times one R tool on the problems that mds_peers.py leaves in a folder.
#
#   Rscript mds_peers.R versions
#   Rscript mds_peers.R TOOL N K COUNT BUDGET_S MAX_PASSES FOLDER
#
# FOLDER/problems holds COUNT matrices of N x N doubles. Prints the median seconds of a pass over all
# of them, start included; writes the configurations of the last pass, doubles by columns, to
# FOLDER/embeddings.

solvers <- list(
  "vegan::monoMDS" = function(d, start, k) vegan::monoMDS(d, start, k = k, model = "global")$points,
  "MASS::isoMDS" = function(d, start, k) MASS::isoMDS(d, start, k = k, trace = FALSE)$points,
  "MASS::isoMDS, tol 1e-9" = function(d, start, k)
    MASS::isoMDS(d, start, k = k, trace = FALSE, tol = 1e-9, maxit = 500)$points
)

arguments <- commandArgs(trailingOnly = TRUE)
if (arguments[1] == "versions") {
  cat("R", format(getRversion()), "\n")
  for (package in c("vegan", "MASS"))
    if (nzchar(system.file(package = package)))
      cat(package, format(packageVersion(package)), "\n")
  quit()
}

solver <- solvers[[arguments[1]]]
numbers <- as.numeric(arguments[2:6])
n <- numbers[1]; k <- numbers[2]; count <- numbers[3]; budget <- numbers[4]; most <- numbers[5]
folder <- arguments[7]

embed <- function(d) solver(d, cmdscale(d, k), k)
values <- readBin(file.path(folder, "problems"), "double", n * n * count)
values <- array(values, c(n, n, count))
problems <- lapply(seq_len(count), function(i) as.dist(values[, , i]))

# A small problem loads the package and compiles the functions.
small <- as.dist(values[1:min(n, 20), 1:min(n, 20), 1])
for (i in 1:3) invisible(embed(small))

times <- c()
while (length(times) == 0 || (sum(times) < budget && length(times) < most)) {
  start <- Sys.time()
  embeddings <- lapply(problems, embed)
  times <- c(times, as.numeric(Sys.time() - start, units = "secs"))
}
writeBin(unlist(lapply(embeddings, as.vector)), file.path(folder, "embeddings"))
cat(median(if (length(times) > 1) times[-1] else times), "\n")
